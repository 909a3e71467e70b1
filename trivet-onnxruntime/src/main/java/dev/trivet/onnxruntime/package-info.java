/** Runs exported models on Microsoft's ONNX Runtime. */
@NullMarked
package dev.trivet.onnxruntime;

import org.jspecify.annotations.NullMarked;
