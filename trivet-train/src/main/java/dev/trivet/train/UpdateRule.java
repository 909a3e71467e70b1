package dev.trivet.train;

/** How gradients become steps. */
public enum UpdateRule {
    /** AdamW for every parameter. */
    ADAMW,
    /** Muon for the weight matrices of the blocks, AdamW for the rest: fewer epochs to the same accuracy. */
    MUON
}
