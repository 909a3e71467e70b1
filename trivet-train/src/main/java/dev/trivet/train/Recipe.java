package dev.trivet.train;

/** What is trained, and by way of what. */
public enum Recipe {
    /** A float model, from scratch. */
    FLOAT,
    /** A float model further, for example on other classes or images of another size. */
    FINETUNE,
    /** 8-bit weights and activations, from a float model. */
    W8A8,
    /** TerViT's way: 8-bit weights and activations first, then ternary weights, each from where the former ended. */
    TERVIT,
    /** Ternary weights straight from a float model, the comparison for {@link #TERVIT}. */
    TERNARY;

    /** Whether the weights of the result are quantized. */
    public boolean quantizes() {
        return switch (this) {
            case FLOAT, FINETUNE -> false;
            case W8A8, TERVIT, TERNARY -> true;
        };
    }
}
