/** The report of a quantization as one HTML page. */
@NullMarked
package dev.trivet.cli.report;

import org.jspecify.annotations.NullMarked;
