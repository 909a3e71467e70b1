package dev.trivet.ptq;

import java.util.List;

/**
 * How an operator was quantized, and what it was chosen from.
 *
 * @param operator its name
 * @param choice what was taken, for a person to read
 * @param heldOutError squared error of its integer output on the held-out images, relative to the energy of the output that
 *     was wanted
 * @param tried all candidates with their errors
 */
public record OperatorChoice(String operator, String choice, double heldOutError, List<Tried> tried) {
    /** Copies the list. */
    public OperatorChoice {
        tried = List.copyOf(tried);
    }

    /** One candidate. */
    public record Tried(String description, double error) {}
}
