/** Labelled image sets: image folders and IDX files. */
@NullMarked
package dev.trivet.data;

import org.jspecify.annotations.NullMarked;
