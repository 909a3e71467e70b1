package dev.trivet.model;

/** Resampling filter of a resize. */
public enum Interpolation {
    BILINEAR,
    BICUBIC
}
