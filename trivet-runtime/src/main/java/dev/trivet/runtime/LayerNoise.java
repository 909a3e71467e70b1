package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.data.LabelledImages;
import dev.trivet.image.RgbImage;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.UnaryOperator;

/**
 * Where two models of the same geometry drift apart: the signal-to-noise ratio of the second against the first after each
 * block, noise of earlier blocks included.
 */
public final class LayerNoise {
    private static final String NORM = "norm";

    private LayerNoise() {}

    /**
     * @param layer activation name, as {@link LayerObserver#activation} gives it
     * @param sqnrDb {@code 10 log10(sum a^2 / sum (a - b)^2)}
     */
    public record Entry(String layer, double sqnrDb) {}

    /**
     * @param count how many images to look at, from the first readable one on
     * @param basis what the first model's tokens {@code [rows, width]} are in the second model's residual stream, which may
     *     stand in another basis
     * @return one entry per activation, in execution order; without the last LayerNorm's where its parameters differ, as the
     *     layer that reads it then differs with it
     */
    public static List<Entry> measure(
            TrivetModel first, TrivetModel second, LabelledImages images, int count, UnaryOperator<float[]> basis) {
        boolean sameNorm = finalNorm(first.executor()).matches(finalNorm(second.executor()));
        Map<String, double[]> sums = new LinkedHashMap<>();
        try (ModelSession a = first.executor().openSession();
                ModelSession b = second.executor().openSession()) {
            MemorySegment inA = a.allocateInput();
            MemorySegment inB = b.allocateInput();
            MemorySegment outA = a.allocateLogits();
            MemorySegment outB = b.allocateLogits();
            int seen = 0;
            for (int i = 0; i < images.size() && seen < count; i++) {
                RgbImage image;
                try {
                    image = images.read(i);
                } catch (dev.trivet.BadInputException e) {
                    continue; // the evaluation has already named it
                }
                seen++;
                Map<String, float[]> kept = new LinkedHashMap<>();
                first.preprocessor().apply(image, inA, 0);
                second.preprocessor().apply(image, inB, 0);
                a.run(inA, 1, outA, Optional.of(keep(kept, basis, sameNorm)));
                b.run(inB, 1, outB, Optional.of(compare(kept, sums)));
            }
        }
        List<Entry> entries = new ArrayList<>();
        sums.forEach((name, s) -> entries.add(new Entry(name, Evaluation.sqnrDb(s[0], s[1]))));
        return entries;
    }

    private static NormParameters finalNorm(ModelExecutor executor) {
        return switch (executor) {
            case VitExecutor vit -> vit.finalNorm;
            case SwinExecutor swin -> swin.finalNorm();
        };
    }

    private static LayerObserver keep(Map<String, float[]> kept, UnaryOperator<float[]> basis, boolean sameNorm) {
        return new LayerObserver() {
            @Override
            public void activation(String name, MemorySegment values, int images, int rows, int width) {
                if (sameNorm || !name.equals(NORM)) {
                    kept.put(
                            name,
                            basis.apply(values.asSlice(0, 4L * rows * width).toArray(JAVA_FLOAT)));
                }
            }
        };
    }

    private static LayerObserver compare(Map<String, float[]> kept, Map<String, double[]> sums) {
        return new LayerObserver() {
            @Override
            public void activation(String name, MemorySegment values, int images, int rows, int width) {
                float[] expected = kept.get(name);
                if (expected == null || expected.length != rows * width) {
                    return;
                }
                double[] sum = sums.computeIfAbsent(name, n -> new double[2]);
                for (int i = 0; i < expected.length; i++) {
                    double d = (double) expected[i] - values.getAtIndex(JAVA_FLOAT, i);
                    sum[0] += (double) expected[i] * expected[i];
                    sum[1] += d * d;
                }
            }
        };
    }
}
