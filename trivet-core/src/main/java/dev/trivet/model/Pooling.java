package dev.trivet.model;

/** How the tokens of the last block become one feature vector. */
public enum Pooling {
    /** The class token (with distillation: the class and the distillation token, one head each). */
    TOKEN,
    /** The mean over the patch tokens, normalised after pooling ({@code fc_norm}). */
    AVERAGE,
    /** The mean over the patch tokens, each normalised before ({@code norm}). */
    NORMALIZED_AVERAGE
}
