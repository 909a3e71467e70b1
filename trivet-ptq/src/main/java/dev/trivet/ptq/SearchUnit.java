package dev.trivet.ptq;

import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import java.util.ArrayList;
import java.util.List;

/**
 * A unit of a model that calibration takes at once.
 *
 * @param index into {@link Geometry#units()}
 * @param label for progress
 */
record SearchUnit(int index, ModelUnit unit, String label) {
    /** All of a model's units in order. */
    static List<SearchUnit> of(Geometry geometry) {
        List<ModelUnit> all = geometry.units();
        long blocks = all.stream().filter(ModelUnit.Block.class::isInstance).count();
        List<SearchUnit> units = new ArrayList<>();
        int block = 0;
        for (ModelUnit unit : all) {
            String label = switch (unit) {
                case ModelUnit.Embedding _ -> "embedding";
                case ModelUnit.Block _ -> "block " + ++block + " of " + blocks;
                case ModelUnit.Merging _ -> "merging after block " + block;
                case ModelUnit.Head _ -> "head";
            };
            units.add(new SearchUnit(units.size(), unit, label));
        }
        return units;
    }

    /** Most values that one image has between two units. */
    static long streamValues(Geometry geometry) {
        return geometry.units().stream()
                .filter(unit -> !(unit instanceof ModelUnit.Head))
                .mapToLong(unit -> unit.output().values())
                .max()
                .orElseThrow();
    }

    /** Rows that one image gives a linear layer of this unit with so many inputs. */
    int rows(int inputs) {
        return rows(unit, inputs);
    }

    /** Rows that one image gives a linear layer of a unit. */
    static int rows(ModelUnit unit, int inputs) {
        return switch (unit) {
            case ModelUnit.Embedding u -> Math.toIntExact(u.input().values() / inputs);
            case ModelUnit.Block u -> u.shape().tokens();
            case ModelUnit.Merging u -> u.output().tokens();
            case ModelUnit.Head _ -> 1;
        };
    }
}
