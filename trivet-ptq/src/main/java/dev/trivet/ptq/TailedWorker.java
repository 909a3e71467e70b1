package dev.trivet.ptq;

/** What a thread needs to run a unit and then the rest of the float model. */
record TailedWorker(UnitWorker unit, ModelTail.Session tail) implements AutoCloseable {
    @Override
    public void close() {
        try (unit) {
            tail.close();
        }
    }
}
