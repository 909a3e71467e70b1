package dev.trivet.image;

/** Resampling filter of a resize. */
public enum Interpolation {
    BILINEAR,
    BICUBIC
}
