package dev.trivet.ptq;

/** A method of quantizing one unit of a model: what differs between {@link BlockwiseSearch}'s methods. */
interface UnitSearch {
    /** Replaces every operator of the unit that the plan quantizes by its quantized form in {@code state}. */
    void quantize(ModelUnit unit, SearchState state);

    /**
     * Upper bound of the memory that the method takes beside the model, bytes.
     *
     */
    long memoryBound(dev.trivet.model.VitConfig config);
}
