/** Measures how fast models run, on Trivet's engine and on others. */
@NullMarked
package dev.trivet.cli.bench;

import org.jspecify.annotations.NullMarked;
