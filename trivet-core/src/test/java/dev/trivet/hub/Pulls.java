package dev.trivet.hub;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** Pulls from a {@link FakeHub}, and what they say and how long they wait; time does not pass. */
final class Pulls implements HubListener {
    static final HubModel MODEL = HubModel.parse(FakeHub.ID).orElseThrow();

    final List<String> notes = new ArrayList<>();
    final List<Duration> waits = new ArrayList<>();
    final List<Long> starts = new ArrayList<>();
    private String file = "";

    HubSnapshot pull(HubSettings settings) {
        return pull(settings, MODEL);
    }

    HubSnapshot pull(HubSettings settings, HubModel model) {
        return new ModelHub(settings, waits::add).pull(model, this);
    }

    /** As {@link #pull}, in a process of its own: cache, endpoint. */
    public static void main(String[] arguments) {
        HubSettings settings = HubSettings.of(
                java.util.Map.of("HF_HOME", arguments[0], "HF_ENDPOINT", arguments[1]), Path.of(arguments[0]));
        HubSnapshot snapshot = new Pulls().pull(settings);
        snapshot.files().forEach(entry -> System.out.println(entry.name() + " " + entry.sha256()));
    }

    @Override
    public void note(String line) {
        notes.add(line);
    }

    @Override
    public void progress(String name, long done, long total) {
        if (!name.equals(file)) {
            file = name;
            starts.add(done);
        }
    }
}
