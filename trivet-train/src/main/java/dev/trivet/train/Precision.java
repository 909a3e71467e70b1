package dev.trivet.train;

/** Number format of the matrix products in training; parameters, optimiser and loss are always float32. */
public enum Precision {
    /** float32 throughout. */
    FP32,
    /** bfloat16 products (PyTorch's autocast), float32 elsewhere. */
    BF16,
    /** Times a few steps of both on this machine and takes the faster. The outcome is fixed in the checkpoint. */
    AUTO
}
