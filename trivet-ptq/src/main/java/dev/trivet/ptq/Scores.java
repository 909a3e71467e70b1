package dev.trivet.ptq;

import java.util.concurrent.atomic.AtomicLongArray;

/**
 * Sums of scores, one per candidate and choice, over images that several threads score in any order. Each score is rounded to
 * a multiple of 2^-40 and added as an integer, so the totals, and with them every choice, do not depend on that order. Whole
 * and fractional parts are counted apart: a ranking loss that is a plain sum reaches millions.
 */
final class Scores {
    private static final int FRACTION_BITS = 40;
    private static final double UNIT = 1L << FRACTION_BITS;

    private final int choices;
    private final AtomicLongArray wholes;
    private final AtomicLongArray fractions;

    /**
     * @param candidates how many candidates compete
     * @param choices how many independent choices are made (output channels), 1 for one choice per tensor
     */
    Scores(int candidates, int choices) {
        this.choices = choices;
        wholes = new AtomicLongArray(Math.multiplyExact(candidates, choices));
        fractions = new AtomicLongArray(wholes.length());
    }

    void add(int candidate, int choice, double score) {
        int at = candidate * choices + choice;
        double whole = Math.floor(score);
        wholes.addAndGet(at, (long) whole);
        fractions.addAndGet(at, Math.round((score - whole) * UNIT));
    }

    /** The candidate with the highest total; of equals the last, which clips least. */
    int best(int choice) {
        int candidates = wholes.length() / choices;
        int best = 0;
        for (int c = 1; c < candidates; c++) {
            if (compare(c * choices + choice, best * choices + choice) >= 0) {
                best = c;
            }
        }
        return best;
    }

    private int compare(int a, int b) {
        long fractionA = fractions.get(a);
        long fractionB = fractions.get(b);
        int byWhole = Long.compare(
                wholes.get(a) + (fractionA >> FRACTION_BITS), wholes.get(b) + (fractionB >> FRACTION_BITS));
        long mask = (1L << FRACTION_BITS) - 1;
        return byWhole != 0 ? byWhole : Long.compare(fractionA & mask, fractionB & mask);
    }

    /** Mean score of one candidate. */
    double mean(int candidate, int choice, long images) {
        int at = candidate * choices + choice;
        return images == 0 ? 0 : (wholes.get(at) + fractions.get(at) / UNIT) / images;
    }
}
