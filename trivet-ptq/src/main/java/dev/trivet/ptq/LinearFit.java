package dev.trivet.ptq;

/**
 * One way to quantize a linear layer, ready to be tried on held-out images.
 *
 * @param description what it is, for reports
 * @param input how its input is quantized
 * @param codes signed weight codes {@code [outputs, inputs]}
 * @param scales {@code [outputs]}
 * @param bias {@code [outputs]}
 */
@SuppressWarnings("ArrayRecordComponent") // parameters, never compared
record LinearFit(String description, InputCandidate input, int[] codes, float[] scales, float[] bias) {}
