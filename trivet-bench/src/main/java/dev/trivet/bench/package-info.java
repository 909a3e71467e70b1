/** JMH pairs: each kernel on every provider, at the shapes of the models it serves. */
@NullMarked
package dev.trivet.bench;

import org.jspecify.annotations.NullMarked;
