package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.BadInputException;
import dev.trivet.model.Geometry;
import dev.trivet.tensor.SafetensorsFile;
import dev.trivet.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Compares a model with a recorded run: a safetensors file with {@code input} {@code [images, channels, size, size]}, the
 * expected {@code logits} or {@code output} {@code [images, classes]}, and any {@code act.NAME} {@code [images, rows, width]},
 * rows perhaps as a map of two dimensions (and perhaps for the first images only), NAME as {@link LayerObserver#activation} gives it.
 */
public final class GoldenCheck {
    private GoldenCheck() {}

    /**
     * One compared tensor. A value {@code a} agrees with the recorded {@code b} if {@code |a - b| <= absolute + relative * |b|}.
     *
     * @param largestError largest |a - b|
     * @param outside how many values do not agree
     * @param values how many were compared
     */
    public record Comparison(String name, double largestError, long outside, long values) {
        /** Whether every value is within the tolerance. */
        public boolean agrees() {
            return outside == 0;
        }
    }

    /**
     * Runs the recorded input.
     *
     * @throws BadInputException if the file lacks a tensor or has one of the wrong shape
     */
    public static List<Comparison> run(
            ModelExecutor executor, SafetensorsFile golden, double relative, double absolute) {
        return run(executor, golden, relative, absolute, (done, total) -> {});
    }

    /** The same, telling after each image how far it is. */
    public static List<Comparison> run(
            ModelExecutor executor,
            SafetensorsFile golden,
            double relative,
            double absolute,
            Evaluation.Progress progress) {
        Geometry config = executor.geometry();
        Tensor input = require(golden, "input");
        Tensor output =
                golden.find("logits").or(() -> golden.find("output")).orElseThrow(() -> lacks(golden, "logits"));
        List<Long> image = List.of((long) config.channels(), (long) config.imageSize(), (long) config.imageSize());
        if (input.shape().size() != 4 || !input.shape().subList(1, 4).equals(image)) {
            throw new BadInputException(
                    golden.file(),
                    "its input has shape " + input.shapeText() + " where the model takes [n, " + config.channels()
                            + ", " + config.imageSize() + ", " + config.imageSize() + "]",
                    "record the run with this model");
        }
        if (!output.shape().equals(List.of(input.shape().getFirst(), (long) config.classes()))) {
            throw new BadInputException(
                    golden.file(), "its outputs have shape " + output.shapeText(), "record the run with this model");
        }
        Recorder recorder = new Recorder(golden);
        float[] pixels = input.toFloats();
        float[] expected = output.toFloats();
        int images = Math.toIntExact(input.shape().getFirst());
        int length = images == 0 ? 0 : pixels.length / images;
        Tally logits = new Tally("logits", relative, absolute);
        recorder.tolerate(relative, absolute);
        try (ModelSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment out = session.allocateLogits();
            for (int i = 0; i < images; i++) {
                MemorySegment.copy(pixels, i * length, in, JAVA_FLOAT, 0, length);
                recorder.image = i;
                session.run(in, 1, out, Optional.of(recorder));
                for (int c = 0; c < config.classes(); c++) {
                    logits.add(out.getAtIndex(JAVA_FLOAT, c), expected[i * config.classes() + c]);
                }
                progress.done(i + 1, images);
            }
        }
        List<Comparison> comparisons = new ArrayList<>();
        recorder.tallies.forEach(tally -> comparisons.add(tally.comparison()));
        comparisons.add(logits.comparison());
        return comparisons;
    }

    private static Tensor require(SafetensorsFile golden, String name) {
        return golden.find(name).orElseThrow(() -> lacks(golden, name));
    }

    private static BadInputException lacks(SafetensorsFile golden, String name) {
        return new BadInputException(golden.file(), "has no tensor " + name, "give a recorded run");
    }

    /** Compares activations as they pass. */
    private static final class Recorder implements LayerObserver {
        private final SafetensorsFile golden;
        private final List<Tally> tallies = new ArrayList<>();
        private double relative;
        private double absolute;
        private int image;

        Recorder(SafetensorsFile golden) {
            this.golden = golden;
        }

        void tolerate(double rtol, double atol) {
            relative = rtol;
            absolute = atol;
        }

        @Override
        public void activation(String name, MemorySegment values, int images, int rows, int width) {
            Optional<Tensor> recorded = golden.find("act." + name);
            if (recorded.isEmpty()) {
                return;
            }
            Tensor tensor = recorded.get();
            if (!fits(tensor.shape(), rows, width)) {
                throw new BadInputException(
                        golden.file(),
                        "act." + name + " has shape " + tensor.shapeText() + " where the model gives [n, " + rows + ", "
                                + width + "]",
                        "record the run with this model");
            }
            if (image >= tensor.shape().getFirst()) {
                return;
            }
            Tally tally = tallies.stream()
                    .filter(t -> t.name.equals("act." + name))
                    .findFirst()
                    .orElseGet(() -> {
                        Tally created = new Tally("act." + name, relative, absolute);
                        tallies.add(created);
                        return created;
                    });
            long base = (long) image * rows * width;
            for (long i = 0; i < (long) rows * width; i++) {
                tally.add(values.getAtIndex(JAVA_FLOAT, i), tensor.floatAt(base + i));
            }
        }
    }

    /** Whether a shape is {@code [n, rows, width]}, or {@code [n, height, width of the map, width]} with as many tokens. */
    private static boolean fits(List<Long> shape, int rows, int width) {
        int last = shape.size() - 1;
        return (last == 2 || last == 3)
                && shape.get(last) == width
                && shape.subList(1, last).stream().reduce(1L, (a, b) -> a * b) == rows;
    }

    private static final class Tally {
        private final String name;
        private final double relative;
        private final double absolute;
        private double largest;
        private long outside;
        private long values;

        Tally(String name, double relative, double absolute) {
            this.name = name;
            this.relative = relative;
            this.absolute = absolute;
        }

        void add(float actual, float expected) {
            double error = Math.abs((double) actual - expected);
            values++;
            // Written so that NaN counts as outside.
            if (actual != expected
                    && !(Float.isFinite(expected) && error <= absolute + relative * Math.abs(expected))) {
                outside++;
            }
            largest = Double.isNaN(error) ? Double.NaN : Math.max(largest, error);
        }

        Comparison comparison() {
            return new Comparison(name, largest, outside, values);
        }
    }
}
