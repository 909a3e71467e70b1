package dev.trivet.train;

/**
 * Linear warm-up, then half a cosine down to a floor. Step {@code s} (from 0) of {@code n} with {@code w} warm-up steps:
 *
 * <pre>
 *   s &lt; w:  peak * (s + 1) / w
 *   else:   floor + (peak - floor) * (1 + cos(pi * (s - w) / (n - w))) / 2
 * </pre>
 *
 * so that the first step already learns, the step after the warm-up has the peak, and the floor would be reached one step
 * after the last. The cosine is SGDR's (Loshchilov and Hutter, 2017) without restarts.
 *
 * @param peak largest rate, positive
 * @param floor rate at the end, in [0, peak]
 * @param warmupSteps steps of warm-up, in [0, totalSteps]
 * @param totalSteps steps of the whole training, positive
 */
record LearningRateSchedule(double peak, double floor, long warmupSteps, long totalSteps) {
    LearningRateSchedule {
        if (!(peak > 0 && Double.isFinite(peak) && floor >= 0 && floor <= peak)) {
            throw new IllegalArgumentException("learning rates " + peak + ", " + floor + " out of range");
        }
        if (totalSteps < 1 || warmupSteps < 0 || warmupSteps > totalSteps) {
            throw new IllegalArgumentException(warmupSteps + " warm-up steps of " + totalSteps);
        }
    }

    /** Rate of step {@code step}, counted from 0. */
    double at(long step) {
        if (step < warmupSteps) {
            return peak * (step + 1) / warmupSteps;
        }
        double progress = (double) (step - warmupSteps) / (totalSteps - warmupSteps);
        return floor + (peak - floor) * (1 + Math.cos(Math.PI * progress)) / 2;
    }
}
