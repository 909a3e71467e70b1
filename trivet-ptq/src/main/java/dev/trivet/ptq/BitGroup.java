package dev.trivet.ptq;

import java.util.List;

/**
 * A module whose operators share one width: an attention or an MLP module.
 *
 * @param name the module's name, for printing
 * @param options the widths it may take, 1 to 100 of them, in any order
 */
public record BitGroup(String name, List<BitOption> options) {
    /** @throws IllegalArgumentException if there is no option or there are too many */
    public BitGroup {
        options = List.copyOf(options);
        if (options.isEmpty() || options.size() > 100) {
            throw new IllegalArgumentException(name + ": 1 to 100 options expected, not " + options.size());
        }
    }
}
