/** Image decoding and the preprocessing that models are trained with. */
@NullMarked
package dev.trivet.image;

import org.jspecify.annotations.NullMarked;
