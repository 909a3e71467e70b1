package dev.trivet.train;

import dev.trivet.quant.TernaryWeights;
import dev.trivet.train.TrainingSettings.Distillation;
import dev.trivet.train.TrainingSettings.Quantization;
import dev.trivet.train.TrainingSettings.Steps;
import dev.trivet.train.TrainingSettings.Variation;

/** Settings of trainings on {@link SyntheticImages}. */
final class SmallTraining {
    static final Quantization TERNARY = new Quantization(1, true, TernaryWeights.Scale.SURVIVORS, 2.5, false);

    private SmallTraining() {}

    static TrainingSettings settings(
            Recipe recipe,
            int epochs,
            Steps steps,
            boolean flip,
            double dropPath,
            long seed,
            Precision precision,
            int threads) {
        return new TrainingSettings(
                recipe,
                epochs,
                steps,
                new Variation(1, 1, flip, 0, 0, 1),
                0.1,
                dropPath,
                Distillation.NONE,
                TERNARY,
                seed,
                precision,
                Device.CPU,
                threads);
    }
}
