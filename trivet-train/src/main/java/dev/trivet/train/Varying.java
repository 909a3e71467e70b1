package dev.trivet.train;

/** All that is random about the images of a training and about what each of them passes in the model. */
record Varying(Augmentation augmentation, Mixing mixing, DropPath dropPath) {
    static Varying of(TrainingSettings settings) {
        return new Varying(settings.augmentation(), settings.mixing(), settings.paths());
    }
}
