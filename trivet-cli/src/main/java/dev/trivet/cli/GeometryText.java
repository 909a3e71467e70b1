package dev.trivet.cli;

import dev.trivet.model.Geometry;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import java.util.Locale;

/** A geometry in a line. */
final class GeometryText {
    private GeometryText() {}

    static String of(Geometry geometry) {
        String image = "image " + geometry.channels() + " x " + geometry.imageSize() + " x " + geometry.imageSize();
        return switch (geometry) {
            case VitConfig c ->
                String.format(
                        Locale.ROOT,
                        "%s, patch %d, width %d, depth %d, %d heads, MLP %d, %d classes, %s pooling%s",
                        image,
                        c.patchSize(),
                        c.width(),
                        c.depth(),
                        c.heads(),
                        c.mlpWidth(),
                        c.classes(),
                        c.pooling().name().toLowerCase(Locale.ROOT).replace('_', ' '),
                        (c.distilled() ? ", distilled" : "")
                                + (c.registers() > 0 ? ", " + c.registers() + " register tokens" : "")
                                + (c.preLogits() > 0 ? ", pre-logits " + c.preLogits() : ""));
            case SwinConfig c ->
                String.format(
                        Locale.ROOT,
                        "%s, patch %d, window %d, width %d, depths %s, heads %s, MLP ratio %s, %d classes%s",
                        image,
                        c.patchSize(),
                        c.window(),
                        c.width(),
                        c.depths(),
                        c.heads(),
                        c.mlpRatio(),
                        c.classes(),
                        c.absolutePositions() ? ", absolute positions" : "");
        };
    }
}
