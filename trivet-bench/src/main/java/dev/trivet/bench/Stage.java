package dev.trivet.bench;

import dev.trivet.model.WindowPadding;
import dev.trivet.model.WindowPartition;
import java.util.Optional;

/** A run of equal blocks of a published model at 224 pixels, one image: the shapes that kernels are measured at. */
public enum Stage {
    DEIT_TINY("DeiT-Tiny", 197, 192, 3, 0),
    DEIT_SMALL("DeiT-Small", 197, 384, 6, 0),
    DEIT_BASE("DeiT-Base", 197, 768, 12, 0),
    SWIN_TINY_1("Swin-Tiny, stage 1", 56 * 56, 96, 3, 56),
    SWIN_TINY_2("Swin-Tiny, stage 2", 28 * 28, 192, 6, 28),
    SWIN_TINY_3("Swin-Tiny, stage 3", 14 * 14, 384, 12, 14),
    SWIN_TINY_4("Swin-Tiny, stage 4", 7 * 7, 768, 24, 7);

    private static final int WINDOW = 7;

    private final String title;
    private final int tokens;
    private final int width;
    private final int heads;
    /** Tokens along one side of the map; 0 for a ViT. */
    private final int side;

    Stage(String title, int tokens, int width, int heads, int side) {
        this.title = title;
        this.tokens = tokens;
        this.width = width;
        this.heads = heads;
        this.side = side;
    }

    String title() {
        return title;
    }

    /** Rows of the linear layers. */
    int tokens() {
        return tokens;
    }

    int width() {
        return width;
    }

    int heads() {
        return heads;
    }

    int headWidth() {
        return width / heads;
    }

    /** Hidden units of the MLP. */
    int hidden() {
        return 4 * width;
    }

    /** How tokens are cut into windows, shifted where a stage has shifted blocks; empty for a ViT. */
    Optional<WindowPartition> windows() {
        return side == 0
                ? Optional.empty()
                : Optional.of(
                        new WindowPartition(side, WINDOW, side == WINDOW ? 0 : WINDOW / 2, WindowPadding.AFTER_SHIFT));
    }

    /** Groups of tokens that attend to each other. */
    int groups() {
        return windows().map(WindowPartition::windows).orElse(1);
    }

    int groupTokens() {
        return windows().map(WindowPartition::windowTokens).orElse(tokens);
    }
}
