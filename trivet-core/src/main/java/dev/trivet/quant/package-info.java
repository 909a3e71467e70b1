/** Quantizer definitions and integer ranges. */
@NullMarked
package dev.trivet.quant;

import org.jspecify.annotations.NullMarked;
