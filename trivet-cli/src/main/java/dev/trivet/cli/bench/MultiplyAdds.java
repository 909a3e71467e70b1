package dev.trivet.cli.bench;

import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitNames;
import dev.trivet.model.VitTensors;

/** Multiplications with an addition that the products of a model do for one image; nothing else is counted. */
public final class MultiplyAdds {
    private MultiplyAdds() {}

    public static long of(Geometry geometry) {
        long sum = 0;
        for (ModelUnit unit : geometry.units()) {
            sum += switch (unit) {
                case ModelUnit.Embedding _ -> embedding(geometry);
                case ModelUnit.Block block -> {
                    long width = block.shape().width();
                    long linear = block.shape().tokens() * (4 * width * width + 2 * width * block.hiddenWidth());
                    long pairs = (long) block.groups() * block.groupTokens() * block.groupTokens();
                    yield linear + 2 * pairs * width;
                }
                case ModelUnit.Merging merging ->
                    merging.output().tokens()
                            * 4L
                            * merging.input().width()
                            * merging.output().width();
                case ModelUnit.Head head ->
                    VitTensors.of(geometry).linears().stream()
                            .filter(l -> head.linears().contains(l.name()))
                            .mapToLong(l -> (long) l.outputs() * l.inputs())
                            .sum();
            };
        }
        return sum;
    }

    /**
     * Without those of the last block behind which the head reads nothing, which Trivet leaves out. (It keeps one token more than a head that reads a
     * single one; that is not counted.)
     */
    public static long needed(Geometry geometry) {
        if (!(geometry instanceof VitConfig c)) {
            return of(geometry);
        }
        long perToken = (long) c.width() * (c.width() + 2L * c.mlpWidth() + 2L * c.tokens());
        return of(geometry) - (c.tokens() - c.headTokens()) * perToken;
    }

    private static long embedding(Geometry geometry) {
        long patches = switch (geometry) {
            case VitConfig c -> c.patches();
            case SwinConfig c -> c.patches();
        };
        return VitTensors.of(geometry).linears().stream()
                .filter(l -> l.name().equals(VitNames.PATCH_EMBEDDING))
                .mapToLong(l -> patches * l.outputs() * l.inputs())
                .sum();
    }
}
