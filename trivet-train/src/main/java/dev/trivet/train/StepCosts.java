package dev.trivet.train;

import dev.trivet.data.LabelledImages;
import dev.trivet.model.VitModel;
import java.util.Arrays;
import java.util.Optional;

/**
 * What a training step costs with quantization and without, measured side by side: steps of both alternate, so that other load on the
 * machine meets both alike. A step is the gradient of a batch and the optimizer's step, with ranges and weights brought up to date.
 *
 * @param quantizedMillis median of a quantized step
 * @param floatMillis median of a float step of the same model
 * @param ratio median of the ratios of neighbouring steps
 * @param steps of each kind
 */
public record StepCosts(double quantizedMillis, double floatMillis, double ratio, int steps) {
    private static final int WARM_UP = 5;

    /**
     * Measures.
     *
     * @param start a float model
     * @param settings with a recipe that quantizes; its last stage is measured, without a teacher, in the precision asked for (auto: float32)
     * @param steps of each kind
     * @throws dev.trivet.BadInputException if the images do not fit the model
     */
    public static StepCosts measure(VitModel start, TrainingSettings settings, LabelledImages train, int steps) {
        ImageSet images = ImageSet.of(train, start.geometry(), start.config().preprocessing());
        Torch.load();
        Stage last = Stage.of(settings).getLast();
        try (ActivationRanges ranges = new ActivationRanges(start.geometry());
                Timed quantized = new Timed(last.model(start.config(), settings, ranges), start, settings, images);
                Timed plain =
                        new Timed(TrainableModel.of(start.geometry(), Arithmetic.FLOAT, 0), start, settings, images)) {
            double[] own = new double[steps];
            double[] other = new double[steps];
            double[] ratios = new double[steps];
            for (int i = -WARM_UP; i < steps; i++) {
                double first = quantized.millis();
                double second = plain.millis();
                if (i >= 0) {
                    own[i] = first;
                    other[i] = second;
                    ratios[i] = first / second;
                }
            }
            return new StepCosts(median(own), median(other), median(ratios), steps);
        }
    }

    private static double median(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        int half = sorted.length / 2;
        return sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }

    /** A model with what a step of it needs. */
    private static final class Timed implements AutoCloseable {
        private final TrainableModel model;
        private final Replicas replicas;
        private final Optimizer optimizer;
        private final Draw draw;
        private final ImageSet images;
        private final TrainingSettings settings;

        Timed(TrainableModel model, VitModel start, TrainingSettings settings, ImageSet images) {
            this.model = model;
            this.settings = settings;
            this.images = images;
            model.parameters().load(start);
            int batch = Math.min(settings.steps().batchSize(), images.size());
            draw = new Draw(Augmentation.order(images.size(), 0, 0), 0, batch, 0, 1);
            replicas = new Replicas(model, Optional.empty(), start.config().preprocessing(), batch, settings);
            optimizer = new Optimizer(model, settings.steps());
            model.ranges().ifPresent(ranges -> {
                replicas.observe(images, new int[] {0});
                ranges.update(0);
            });
        }

        double millis() {
            Precision precision = settings.precision() == Precision.BF16 ? Precision.BF16 : Precision.FP32;
            long start = System.nanoTime();
            Replicas.Outcome ignored = replicas.gradient(images, draw, precision);
            double norm = optimizer.step(settings.steps().learningRate() / 100);
            model.ranges().ifPresent(ranges -> ranges.update(optimizer.steps()));
            return Double.isFinite(norm) ? (System.nanoTime() - start) / 1e6 : Double.NaN;
        }

        @Override
        public void close() {
            replicas.close();
            optimizer.close();
            model.close();
        }
    }
}
