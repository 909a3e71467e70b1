package dev.trivet.ptq;

/**
 * One width a module may take, with its price and its harm.
 *
 * @param bits bits of its weights and inputs, at least 1
 * @param bytes size of the module at this width, at least 0
 * @param omega sensitivity of eq. (18) of Liu et al. 2021: nuclear norm times squared perturbation; finite, at least 0
 */
public record BitOption(int bits, long bytes, double omega) {
    /** @throws IllegalArgumentException if a value is out of its range */
    public BitOption {
        if (bits < 1 || bytes < 0 || !(omega >= 0) || !Double.isFinite(omega)) {
            throw new IllegalArgumentException(
                    "bits " + bits + ", bytes " + bytes + ", omega " + omega + ": positive and finite expected");
        }
    }
}
