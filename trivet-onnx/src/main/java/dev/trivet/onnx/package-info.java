/** Models as ONNX files, float32 or with the quantizers they run by. */
@NullMarked
package dev.trivet.onnx;

import org.jspecify.annotations.NullMarked;
