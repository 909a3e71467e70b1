package dev.trivet.ptq;

/**
 * Knows when a step need not be taken: a side's choice follows from the other side's choice and the bias, so as long as
 * neither has changed since the side was last searched, it stays. Once both sides are settled the search has converged.
 */
@SuppressWarnings("EnumOrdinal") // the sides are two, and the other one is what the ordinal is good for
final class SettledSides {
    private static final int SIDES = OperatorSearch.Side.values().length;

    /** How often each side's choice has changed. */
    private final int[] changes = new int[SIDES];

    private int biasChanges;
    /** Per side: what {@link #changes} of the other side and {@link #biasChanges} were at its last step. */
    private final int[] seenOther = {-1, -1};

    private final int[] seenBias = {-1, -1};

    private static int other(OperatorSearch.Side side) {
        return SIDES - 1 - side.ordinal();
    }

    boolean isSettled(OperatorSearch.Side side) {
        return seenOther[side.ordinal()] == changes[other(side)] && seenBias[side.ordinal()] == biasChanges;
    }

    /** A side has been searched. */
    void searched(OperatorSearch.Side side, boolean changed) {
        seenOther[side.ordinal()] = changes[other(side)];
        seenBias[side.ordinal()] = biasChanges;
        if (changed) {
            changes[side.ordinal()]++;
        }
    }

    void biasChanged() {
        biasChanges++;
    }
}
