/** What every part of Trivet shares. */
@NullMarked
package dev.trivet;

import org.jspecify.annotations.NullMarked;
