package dev.trivet.ptq;

/** How {@link RankingLoss} brings its terms together. */
public enum RankReduction {
    /** Mean over heads, rows and pairs: of the order of theta, whatever the size of the map. */
    MEAN,
    /** The paper's sum over heads, rows and pairs; estimated from the mean when pairs are sampled. */
    SUM
}
