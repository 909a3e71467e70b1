package dev.trivet.ptq;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.VitModel;
import dev.trivet.runtime.ModelExecutor;
import dev.trivet.runtime.ModelSession;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/** What a model says to calibration images, and how far two models are apart. */
final class Logits {
    private Logits() {}

    /** {@code [images * classes]}. */
    static float[] of(VitModel model, CalibrationImages images) {
        return of(model, new VectorKernels(), images);
    }

    /** The same by chosen kernels. */
    static float[] of(VitModel model, Kernels kernels, CalibrationImages images) {
        int classes = model.geometry().classes();
        float[] logits = new float[images.size() * classes];
        try (ModelExecutor executor = ModelExecutor.compile(model, kernels, 1);
                ModelSession session = executor.openSession()) {
            MemorySegment in = session.allocateInput();
            MemorySegment out = session.allocateLogits();
            for (int i = 0; i < images.size(); i++) {
                images.load(i, in);
                session.run(in, 1, out, Optional.empty());
                MemorySegment.copy(out, JAVA_FLOAT, 0, logits, i * classes, classes);
            }
        }
        return logits;
    }

    static double sqnrDb(float[] wanted, float[] actual) {
        double signal = 0;
        double noise = 0;
        for (int i = 0; i < wanted.length; i++) {
            signal += (double) wanted[i] * wanted[i];
            noise += (double) (wanted[i] - actual[i]) * (wanted[i] - actual[i]);
        }
        return 10 * Math.log10(signal / noise);
    }
}
