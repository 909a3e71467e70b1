package dev.trivet.ptq;

import dev.trivet.model.Geometry;

/** A method of quantizing one unit of a model: what differs between {@link BlockwiseSearch}'s methods. */
interface UnitSearch {
    /** Replaces every operator of the unit that the plan quantizes by its quantized form in {@code state}. */
    void quantize(SearchUnit unit, SearchState state);

    /** About how many times the unit looks at all images, for progress. */
    default int passes(SearchUnit unit) {
        return 1;
    }

    /** Upper bound of the memory that the method takes beside the model, bytes. */
    long memoryBound(Geometry geometry);
}
