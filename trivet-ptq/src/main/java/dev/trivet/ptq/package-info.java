/** Post-training quantization: calibration and interval search on the integer kernels. */
@NullMarked
package dev.trivet.ptq;

import org.jspecify.annotations.NullMarked;
