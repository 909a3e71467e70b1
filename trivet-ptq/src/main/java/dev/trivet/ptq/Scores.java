package dev.trivet.ptq;

import java.util.concurrent.atomic.AtomicLongArray;

/**
 * Sums of similarities, one per candidate and choice, over images that several threads score in any order. Each similarity is
 * rounded to a multiple of 2^-40 and added as an integer, so the totals, and with them every choice, do not depend on that
 * order.
 */
final class Scores {
    private static final double UNIT = 1L << 40;

    private final int choices;
    private final AtomicLongArray totals;

    /**
     * @param candidates how many candidates compete
     * @param choices how many independent choices are made (output channels), 1 for one choice per tensor
     */
    Scores(int candidates, int choices) {
        this.choices = choices;
        totals = new AtomicLongArray(Math.multiplyExact(candidates, choices));
    }

    void add(int candidate, int choice, double similarity) {
        totals.addAndGet(candidate * choices + choice, Math.round(similarity * UNIT));
    }

    /** The candidate with the highest total; of equals the last, which clips least. */
    int best(int choice) {
        int candidates = totals.length() / choices;
        int best = 0;
        for (int c = 1; c < candidates; c++) {
            if (totals.get(c * choices + choice) >= totals.get(best * choices + choice)) {
                best = c;
            }
        }
        return best;
    }

    /** Mean similarity of one candidate. */
    double mean(int candidate, int choice, long images) {
        return images == 0 ? 0 : totals.get(candidate * choices + choice) / UNIT / images;
    }
}
