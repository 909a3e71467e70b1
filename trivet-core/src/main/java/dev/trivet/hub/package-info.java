/** Pretrained models by name: the Hugging Face hub and its cache on disk. */
@NullMarked
package dev.trivet.hub;

import org.jspecify.annotations.NullMarked;
