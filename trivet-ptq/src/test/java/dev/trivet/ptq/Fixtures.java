package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.model.FloatCheckpoint;
import dev.trivet.model.Geometry;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;

/** The micro models recorded with timm, and images for them. */
final class Fixtures {
    private Fixtures() {}

    static VitModel micro(String name) {
        Path folder = Path.of(System.getProperty("trivet.goldens"), name);
        try (FloatCheckpoint checkpoint = FloatCheckpoint.open(folder, Optional.empty())) {
            return VitModel.read(checkpoint);
        }
    }

    /** Normal noise; image {@code index} depends on the seed and the index only. */
    static final class Noise implements CalibrationImages {
        private final Geometry config;
        private final int size;
        private final long seed;
        final AtomicInteger loads = new AtomicInteger();

        Noise(Geometry config, int size, long seed) {
            this.config = config;
            this.size = size;
            this.seed = seed;
        }

        @Override
        public int size() {
            return size;
        }

        @Override
        public void load(int index, MemorySegment input) {
            loads.incrementAndGet();
            Random random = new Random(31 * seed + index);
            long count = (long) config.channels() * config.imageSize() * config.imageSize();
            for (long i = 0; i < count; i++) {
                input.setAtIndex(JAVA_FLOAT, i, (float) random.nextGaussian());
            }
        }
    }

    /** Rows that all count alike. */
    static float[] ones(int rows) {
        float[] ones = new float[rows];
        java.util.Arrays.fill(ones, 1f);
        return ones;
    }

    /** Pearson's r in double, by its textbook definition. */
    static double pearson(double[] a, double[] b) {
        double meanA = java.util.Arrays.stream(a).average().orElseThrow();
        double meanB = java.util.Arrays.stream(b).average().orElseThrow();
        double ab = 0;
        double aa = 0;
        double bb = 0;
        for (int i = 0; i < a.length; i++) {
            ab += (a[i] - meanA) * (b[i] - meanB);
            aa += (a[i] - meanA) * (a[i] - meanA);
            bb += (b[i] - meanB) * (b[i] - meanB);
        }
        return ab / Math.sqrt(aa * bb);
    }
}
