package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AttentionPiecesTest {
    /** What the attention of wide models and large images is cut into: a megabyte of scores stays whole, more is cut to half of one. */
    @ParameterizedTest
    @CsvSource({
        "3, 197, 208, 3", // DeiT-Tiny
        "6, 197, 208, 6", // DeiT-Small, 0.94 MB
        "12, 197, 208, 3", // DeiT-Base
        "16, 197, 208, 2", // ViT-L: three would fit and do not divide sixteen
        "3, 577, 577, 1", // DeiT-Tiny at 384 pixels: one head is more than half a megabyte
        "7, 300, 304, 1", // no divisor but one
    })
    void headsAtOnce(int heads, int tokens, int keys, int atOnce) {
        assertThat(AttentionPieces.Sizes.heads(heads, (long) tokens * keys)).isEqualTo(atOnce);
    }
}
