package dev.trivet.model;

/**
 * What happens to a feature map that its windows do not divide. Both fill with zeros at the right and at the bottom, after the block's
 * first LayerNorm; they differ in shifted blocks only.
 */
public enum WindowPadding {
    /** timm: the map is rolled, then padded; window and shift follow from the side halved with the remainder dropped. */
    AFTER_SHIFT,
    /** Hugging Face and Microsoft's detection code: the map is padded, then rolled; window and shift follow from the side itself. */
    BEFORE_SHIFT
}
