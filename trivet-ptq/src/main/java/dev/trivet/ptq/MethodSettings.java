package dev.trivet.ptq;

/** Which method quantizes, and how. */
public sealed interface MethodSettings permits TrivetSettings, LiuSettings {
    /** {@code trivet} or {@code liu2021}. */
    String method();

    /** Draws what the method draws. */
    long seed();

    /** Worker threads; the result does not depend on them. */
    int threads();
}
