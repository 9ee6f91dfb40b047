from longmab_pl.cli import main

if __name__ == "__main__":
    main()
