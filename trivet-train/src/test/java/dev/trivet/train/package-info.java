@NullMarked
package dev.trivet.train;

import org.jspecify.annotations.NullMarked;
