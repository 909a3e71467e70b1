/** What a model is: geometry, preprocessing, labels, weights by name. */
@NullMarked
package dev.trivet.model;

import org.jspecify.annotations.NullMarked;
