package dev.trivet.ptq;

import dev.trivet.model.Geometry;
import java.util.List;

/**
 * Turns the images of a search's passes into progress. How many passes a unit takes is known only afterwards; it is given a
 * share beforehand, waits at the end of it if it takes longer, and what it does not use is skipped. Safe to call from several
 * threads.
 */
final class SearchProgress {
    private final SearchListener listener;
    private final List<SearchUnit> units;
    /** Per unit, images before its first. */
    private final long[] starts;

    private String unit = "";
    private String stage = "";
    private int index;
    private long done;

    /** @param finished units that a resumed search only passes through */
    SearchProgress(SearchListener listener, List<SearchUnit> units, int finished, int images, UnitSearch method) {
        this.listener = listener;
        this.units = units;
        starts = new long[units.size() + 1];
        for (int u = 0; u < units.size(); u++) {
            long passes = 1L + (u < finished ? 0 : method.passes(units.get(u)));
            starts[u + 1] = starts[u] + passes * images;
        }
    }

    /** Tells nobody. */
    static SearchProgress silent(Geometry geometry) {
        UnitSearch nothing = new UnitSearch() {
            @Override
            public void quantize(SearchUnit unit, SearchState state) {}

            @Override
            public long memoryBound(Geometry any) {
                return 0;
            }
        };
        return new SearchProgress(SearchListener.SILENT, SearchUnit.of(geometry), 0, 1, nothing);
    }

    synchronized void unit(int next) {
        index = next;
        unit = units.get(next).label();
        stage = "";
        done = starts[next];
        report();
    }

    /** Names what is done next within the unit. */
    synchronized void stage(String name) {
        stage = name;
    }

    synchronized void image() {
        done = Math.min(done + 1, starts[index + 1]);
        report();
    }

    synchronized void end() {
        done = starts[units.size()];
        report();
    }

    private void report() {
        listener.progress(stage.isEmpty() ? unit : unit + ", " + stage, done, starts[units.size()]);
    }
}
