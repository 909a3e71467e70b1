package dev.trivet.ptq;

import dev.trivet.quant.ActivationQuantizer;

/**
 * One way to quantize a linear layer, ready to be tried on held-out images.
 *
 * @param description what it is, for reports
 * @param fold change of variables of the input
 * @param input quantizer of the folded input
 * @param codes signed weight codes {@code [outputs, inputs]}
 * @param scales {@code [outputs]}
 * @param bias {@code [outputs]}
 */
@SuppressWarnings("ArrayRecordComponent") // parameters, never compared
record LinearFit(
        String description, ChannelFold fold, ActivationQuantizer input, int[] codes, float[] scales, float[] bias) {}
