package dev.trivet.cli.report;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import dev.trivet.ptq.CalibrationImages;
import dev.trivet.ptq.ModuleNoise;
import dev.trivet.runtime.Evaluation;
import dev.trivet.runtime.ModelSession;
import dev.trivet.runtime.TrivetModel;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Optional;

/**
 * What is measured for a report, all of it in one run of both models.
 *
 * @param evaluation on labelled images, both models side by side, where there are some
 * @param agreement on the calibration images
 * @param modules noise of each module on the float model's input
 * @param basis how the two models' tokens are related, in a sentence
 * @param operands codes of every operand
 * @param picture the first calibration image, {@code [channels, imageSize, imageSize]}, normalised
 * @param kernels what ran it
 */
@SuppressWarnings("ArrayRecordComponent") // measurements, never compared
record Findings(
        Optional<Evaluation> evaluation,
        Agreement agreement,
        List<ModuleAdvice> modules,
        String basis,
        OperandRecorder operands,
        float[] picture,
        String kernels) {
    /** Images whose operands are counted; their values number in the hundreds of thousands each. */
    private static final int OBSERVED = 4;

    private static final int NOISE_IMAGES = 8;
    private static final int BATCH = 4;

    /**
     * @param images how many were run
     * @param agreement share of images on which both models' top classes are equal
     * @param logitSqnrDb {@code 10 log10(sum a^2 / sum (a - b)^2)} over the logits
     */
    record Agreement(int images, double agreement, double logitSqnrDb) {}

    static Findings measure(ReportInput input, Kernels kernels, int threads, ReportListener listener) {
        VitModel original = input.original().model();
        VitModel quantized = input.quantized().model();
        OperandRecorder operands = new OperandRecorder(quantized);
        ModuleNoise noise = ModuleNoise.measure(original, quantized, kernels, input.images(), NOISE_IMAGES);
        try (TrivetModel a = new TrivetModel(original, kernels, BATCH);
                TrivetModel b = new TrivetModel(quantized, kernels, BATCH)) {
            Comparison comparison = new Comparison(a, b, operands);
            Agreement agreement = comparison.run(input.images(), listener);
            Optional<Evaluation> evaluation = input.labelled()
                    .map(images -> Evaluation.run(
                            List.of(a, b),
                            images,
                            threads,
                            false,
                            (done, total) -> listener.progress("evaluating", done, total)));
            return new Findings(
                    evaluation,
                    agreement,
                    ModuleAdvice.of(noise, quantized),
                    noise.basis().description(),
                    operands,
                    comparison.picture,
                    kernels.description());
        }
    }

    /** Both models on the calibration images. */
    private static final class Comparison {
        private final TrivetModel a;
        private final TrivetModel b;
        private final OperandRecorder operands;
        private float[] picture = new float[0];
        private int agreed;
        private double signal;
        private double noise;

        Comparison(TrivetModel a, TrivetModel b, OperandRecorder operands) {
            this.a = a;
            this.b = b;
            this.operands = operands;
        }

        Agreement run(CalibrationImages images, ReportListener listener) {
            int observed = Math.min(OBSERVED, images.size());
            try (ModelSession sessionA = a.executor().openSession();
                    ModelSession sessionB = b.executor().openSession()) {
                MemorySegment input = sessionA.allocateInput();
                MemorySegment logitsA = sessionA.allocateLogits();
                MemorySegment logitsB = sessionB.allocateLogits();
                // Backwards, so that the maps that stay are those of the first image.
                for (int i = images.size() - 1; i >= 0; i--) {
                    images.load(i, input);
                    boolean watched = i < observed;
                    sessionA.run(input, 1, logitsA, watched ? Optional.of(operands.watchFloat()) : Optional.empty());
                    sessionB.run(
                            input, 1, logitsB, watched ? Optional.of(operands.watchQuantized()) : Optional.empty());
                    compare(logits(logitsA), logits(logitsB));
                    listener.progress("comparing", images.size() - i, images.size());
                }
                picture = input.asSlice(0, 4L * a.preprocessor().outputLength()).toArray(ValueLayout.JAVA_FLOAT);
            }
            return new Agreement(images.size(), (double) agreed / images.size(), Evaluation.sqnrDb(signal, noise));
        }

        private float[] logits(MemorySegment buffer) {
            return buffer.asSlice(0, 4L * a.config().geometry().classes()).toArray(ValueLayout.JAVA_FLOAT);
        }

        private void compare(float[] expected, float[] actual) {
            int top = 0;
            int other = 0;
            for (int c = 0; c < expected.length; c++) {
                double d = (double) expected[c] - actual[c];
                signal += (double) expected[c] * expected[c];
                noise += d * d;
                top = expected[c] > expected[top] ? c : top;
                other = actual[c] > actual[other] ? c : other;
            }
            agreed += top == other && !Float.isNaN(actual[other]) ? 1 : 0;
        }
    }
}
