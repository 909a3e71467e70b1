package dev.trivet.train;

import dev.trivet.model.ModelConfig;
import java.util.List;
import java.util.Locale;

/**
 * A part of a training with weights of one form and a learning rate schedule of its own.
 *
 * @param index from 0
 * @param before epochs of the stages before it
 * @param epochs its own, at least 1
 */
record Stage(Form form, int index, int before, int epochs) {
    /** Form of the weights between patch embedding and heads. */
    enum Form {
        FLOAT,
        W8A8,
        TERNARY;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** The stages of a training; their epochs sum to those of the settings, whatever the recipe. */
    static List<Stage> of(TrainingSettings settings) {
        int epochs = settings.epochs();
        return switch (settings.recipe()) {
            case FLOAT, FINETUNE -> List.of(new Stage(Form.FLOAT, 0, 0, epochs));
            case W8A8 -> List.of(new Stage(Form.W8A8, 0, 0, epochs));
            case TERNARY -> List.of(new Stage(Form.TERNARY, 0, 0, epochs));
            case TERVIT -> {
                int first = settings.quantization().eightBitEpochs();
                yield List.of(new Stage(Form.W8A8, 0, 0, first), new Stage(Form.TERNARY, 1, first, epochs - first));
            }
        };
    }

    /**
     * The model that this stage trains, with the {@link InitialWeights} of the seed.
     *
     * @param ranges of a quantized model's activations; stay the caller's
     */
    TrainableModel model(ModelConfig config, TrainingSettings settings, ActivationRanges ranges) {
        if (form == Form.FLOAT) {
            return TrainableModel.of(config.geometry(), Arithmetic.FLOAT, settings.seed());
        }
        TrainingSettings.Quantization asked = settings.quantization();
        WeightQuantizer eightBit = new WeightQuantizer.EightBit();
        WeightQuantizer inner = form == Form.W8A8
                ? eightBit
                : new WeightQuantizer.Ternary(asked.byChannel(), asked.scale(), (float) asked.clip());
        return TrainableModel.quantized(
                config.geometry(),
                config.preprocessing(),
                inner,
                asked.edges() ? inner : eightBit,
                ranges,
                settings.distillation().needsFeatures(),
                settings.seed());
    }
}
