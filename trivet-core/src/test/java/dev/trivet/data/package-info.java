@NullMarked
package dev.trivet.data;

import org.jspecify.annotations.NullMarked;
