package dev.trivet.ptq;

import java.util.List;

/**
 * One width for each module.
 *
 * @param bytes total size of the chosen options
 * @param omega total sensitivity of the chosen options
 * @param options what each group takes, in the order of the groups
 */
public record BitAllocation(long bytes, double omega, List<BitOption> options) {
    /** Copies the list. */
    public BitAllocation {
        options = List.copyOf(options);
    }
}
