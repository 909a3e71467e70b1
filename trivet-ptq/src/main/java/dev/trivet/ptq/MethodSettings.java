package dev.trivet.ptq;

/** Which method quantizes, and how. */
public sealed interface MethodSettings permits TrivetSettings, LiuSettings {
    /** {@code trivet} or {@code liu2021}. */
    String method();

    /** Whether activation quantizers below 8 bits may use picked levels, which take room in the file. */
    boolean levels();

    /** Whether every output channel of a layer has a weight scale of its own. */
    boolean perChannel();

    /** Draws what the method draws. */
    long seed();

    /** Worker threads; the result does not depend on them. */
    int threads();
}
