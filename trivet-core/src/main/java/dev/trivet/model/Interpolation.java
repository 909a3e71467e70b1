package dev.trivet.model;

/** Resampling filter of a resize. */
public enum Interpolation {
    /** A triangle of one pixel to each side, wider where the image shrinks (Pillow's {@code BILINEAR}). */
    BILINEAR,
    /** Keys' cubic, a = -0.5, of two pixels to each side, wider where the image shrinks (Pillow's {@code BICUBIC}). */
    BICUBIC
}
