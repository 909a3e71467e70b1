package dev.trivet.ptq;

/**
 * How {@link TrivetSearch} works. Its parts can be switched off one by one, to see what each is worth.
 *
 * @param rotation whether the residual stream is rotated, {@link ResidualRotation}
 * @param headBases whether q, k and v are put in balanced bases, {@link HeadBasis}
 * @param levels whether activations below 8 bits may use picked levels, {@link LevelHistogram}
 * @param compensation whether weights move by ridge regression before they are rounded, {@link CompensatedRounding}
 * @param seed stands in the file; the method itself draws nothing
 * @param threads worker threads; the result does not depend on them
 */
public record TrivetSettings(
        boolean rotation, boolean headBases, boolean levels, boolean compensation, long seed, int threads)
        implements MethodSettings {
    /** @throws IllegalArgumentException if there are no threads */
    public TrivetSettings {
        if (threads < 1) {
            throw new IllegalArgumentException("threads from 1, not " + threads);
        }
    }

    /** Everything on. */
    public static TrivetSettings defaults(long seed, int threads) {
        return new TrivetSettings(true, true, true, true, seed, threads);
    }

    @Override
    public String method() {
        return "trivet";
    }

    /** Always. */
    @Override
    public boolean perChannel() {
        return true;
    }
}
